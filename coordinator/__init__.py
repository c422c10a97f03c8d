"""The server: it offers tasks, counts updates and makes the next model version."""
