"""What goes with a request besides the cursor: how much of the file, and what the file is called."""
