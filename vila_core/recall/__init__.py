"""What was seen, where and when: things in pictures, a file of them, and where they stand."""
