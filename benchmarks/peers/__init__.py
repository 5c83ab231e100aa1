"""What becomes of credits and of a group when answers are lost, processes are killed and a source is empty."""
