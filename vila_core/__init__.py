"""VILA models for robots: history, prompts, models, actions, control. No ROS in here."""
