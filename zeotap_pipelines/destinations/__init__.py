"""What each service takes: its connection, the targets it offers, and every assumption about them."""
