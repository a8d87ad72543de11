"""Worlds and sentences that nobody here wrote, for evaluation alone: MiniWorld's rooms, BabyAI's missions."""
