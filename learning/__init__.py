"""What users bring: learners, how they are loaded, and how data is shared out."""
