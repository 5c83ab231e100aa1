"""
Every way in which cosmic-ray can change a file. Runs in cosmic-ray's own environment, and imports nothing else.

    python positions.py FILE ...        one line of JSON for each mutant: file, line, column, operator, occurrence
    python positions.py < mutants       the same lines with the changed source, null where nothing that runs changed
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names


def mutants(path: str) -> Iterator[dict[str, object]]:
    """The mutants of one file."""
    tree = get_ast(Path(path).read_text(encoding="utf-8"))
    for name in operator_names():
        kind = get_operator(name)
        if kind.arguments():
            continue
        places = [start for node in ast_nodes(tree) for start, _ in kind().mutation_positions(node)]
        for occurrence, (line, column) in enumerate(places):
            yield {"file": path, "line": line, "column": column, "operator": name, "occurrence": occurrence}


def changed(mutant: dict[str, str]) -> str | None:
    """The source as *mutant* has it; None where only an annotation or a docstring changed, or it is no code."""
    source = Path(mutant["file"]).read_text(encoding="utf-8")
    try:
        new: str | None = mutate_code(source, get_operator(mutant["operator"])(), mutant["occurrence"])
    except AttributeError:  # It can't replace an exception whose name has a dot.
        return None
    return None if new is None or _meaning(new) in (_meaning(source), None) else new


def _meaning(source: str) -> str | None:
    """The code without annotations (nobody evaluates them here) and docstrings; None where it is no code."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
            given = node.args
            for one in (*given.args, *given.kwonlyargs, *given.posonlyargs, given.vararg, given.kwarg):
                if one:
                    one.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant("")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant("")
    return ast.dump(tree)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        for mutant in mutants(given):
            print(json.dumps(mutant))
    if not sys.argv[1:]:
        for line in sys.stdin:
            print(json.dumps({**json.loads(line), "source": changed(json.loads(line))}))
