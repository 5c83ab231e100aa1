"""
What keeps the loading of a thousand declarations short. Without it everything loads all the same, only slower.

Measured with 1,000 syncs and 300 audiences: ``python -m benchmarks loading``.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import yaml
from dagster.components.core.component_tree import ComponentTree, TestComponentTree

_seeded: WeakSet[Any] = WeakSet()


def seed(tree: ComponentTree) -> None:
    """
    Give the tree's own cache every declaration, once.

    Where it has none, Dagster (1.13) looks each one up by listing the declarations of
    the whole project, so that the time grows with their square. The cache isn't a
    documented part of Dagster: where it has changed, loading is slow again and no worse.
    """
    if isinstance(tree, TestComponentTree):
        return
    try:
        state = tree.state_tracker
        if state in _seeded:
            return
        _seeded.add(state)
        for place, declaration in tree.find_root_decl().iterate_loc_component_decl_pairs():
            if state.get_cache_data(place).component_decl is None:
                state.set_cache_data(place, component_decl=declaration)
    except (AttributeError, TypeError):
        return


@contextmanager
def without_collecting() -> Iterator[None]:
    """Look for no garbage meanwhile, nor afterwards in what was made: what is loaded lives as long as the process."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # Else DuckDB's binding, at the end, takes what is frozen for lost.
        gc.enable()


@contextmanager
def scanned_in_c() -> Iterator[None]:
    """
    Have Dagster read its documents by libyaml, which does the same in a fifth of the time.

    Dagster (1.13) derives its loader from ``yaml.SafeLoader`` anew for each file. Where PyYAML
    came without libyaml, nothing changes.
    """
    slow = yaml.SafeLoader
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", slow)  # type: ignore[misc]
    try:
        yield
    finally:
        yaml.SafeLoader = slow  # type: ignore[misc]
