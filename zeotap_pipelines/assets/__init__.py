"""The assets, a thin layer over the core: snapshot, diff and sync, and what their pages show."""
