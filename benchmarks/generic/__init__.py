"""A generic mutator over the core: what no person thought of breaking."""
