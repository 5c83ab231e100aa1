"""Deliver a plan: what of it is still owed, in conversations that the journal knows."""
