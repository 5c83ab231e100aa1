"""Figures and proofs that anyone can rerun."""
