"""Contenders that are not ours, each with the packages that its figure names and nothing of this project."""
