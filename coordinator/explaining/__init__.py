"""Why something was not counted, in words: an update, a task, a worker, or a round."""
