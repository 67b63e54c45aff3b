"""The rules of the house that a machine can check: layers, lazy imports, limits, names."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src/tunesmith"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}

LAYERS = [
    {"errors"},
    {"world", "signals"},
    {"files", "http_client", "log", "hardware", "pages", "__init__"},
    {"sections"},
    {"references", "hub"},
    {"assertions"},
    {"objectives"},
    {"data"},
    {"config"},
    {"checks", "modeling", "planning", "pytest_plugin", "api"},
    {"training", "generation"},
    {"evals", "synth", "curation", "export", "bench"},
    {"cli"},
    {"__main__"},
]
"""From the bottom up. A module imports from layers below its own, and from its own package."""
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

HEAVY = {"torch", "transformers", "peft", "trl", "datasets", "accelerate", "bitsandbytes", "gradio", "matplotlib"}
VAGUE = {"utils", "helpers", "common", "core", "manager", "factory", "builder", "base"}

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))


def part(file: Path) -> str:
    """Return the package, or the module at the top, that a file belongs to."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[str]:
    """Return the full names of all modules that a tree imports, also inside functions."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def at_import(tree: ast.Module) -> list[ast.stmt]:
    """Return the statements that run when the module is imported; those for type checkers alone are left out."""
    return [
        node
        for node in tree.body
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]


@every_file
def test_imports_never_go_up_nor_sideways(file):
    own = part(file)
    if own == "__init__":
        return  # the face of the package: it gives names of all layers when they are asked for
    for name in imported(TREES[file]):
        if not name.startswith("tunesmith."):
            continue
        other = name.split(".")[1]
        other = other if other in RANK else "__init__"  # such as tunesmith.__version__
        assert other == own or RANK[other] < RANK[own], f"{own} imports {name}"


@every_file
def test_config_and_data_never_import_torch_not_even_lazily(file):
    if part(file) in {"errors", "log", "sections", "config", "references", "assertions", "data"}:
        assert not {name.split(".")[0] for name in imported(TREES[file])} & {"torch", "peft", "accelerate"}


@every_file
def test_what_answers_at_once_imports_nothing_heavy_at_module_level(file):
    if RANK[part(file)] <= RANK["data"] or part(file) == "cli":
        found = {name.split(".")[0] for node in at_import(TREES[file]) for name in imported(node)}
        assert not found & HEAVY


@every_file
def test_nothing_is_assigned_to_what_was_imported(file):
    """No patching: a library's fault is pinned, hooked or done without."""
    tree = TREES[file]
    modules = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else []
        if isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        for target in targets:
            while isinstance(target, (ast.Attribute, ast.Subscript)):
                inner = target.value
                assert not (isinstance(inner, ast.Name) and inner.id in modules), f"line {node.lineno}"
                target = inner
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
            first = node.args[0]
            assert not (isinstance(first, ast.Name) and first.id in modules), f"line {node.lineno}"


@every_file
def test_one_file_reads_the_launcher_and_one_sets_signal_handlers(file):
    text = file.read_text(encoding="utf-8")
    assert part(file) == "world" or not re.search(r"""["'](WORLD_SIZE|(LOCAL_)?RANK|TORCHELASTIC_\w+)["']""", text)
    assert part(file) == "signals" or "signal.signal(" not in text


@every_file
def test_an_exception_of_any_kind_is_only_caught_to_be_raised(file):
    """In the handler, with a better message; or later in the same function, in another thread."""
    functions = [node for node in ast.walk(TREES[file]) if isinstance(node, ast.FunctionDef)]
    inner = {item for node in functions for item in ast.walk(node) if item is not node}
    for scope in [node for node in functions if node not in inner] + at_import(TREES[file]):
        for node in ast.walk(scope):
            if not isinstance(node, ast.ExceptHandler):
                continue
            assert node.type is not None, f"line {node.lineno}: a bare except"
            kinds = {item.id for item in ast.walk(node.type) if isinstance(item, ast.Name)}
            if kinds & {"Exception", "BaseException"}:
                raised = [item for item in ast.walk(scope) if isinstance(item, ast.Raise)]
                assert any(item.lineno > node.lineno for item in raised), f"line {node.lineno}"


@every_file
def test_a_file_and_its_functions_are_short(file):
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= 400
    for node in ast.walk(TREES[file]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno + 1 <= 50, node.name


def count_branches(function: ast.AST) -> int:
    """Return the cyclomatic complexity: one, and one for each branch, loop, handler and part of a condition."""
    count = 1
    for node in ast.walk(function):
        if isinstance(node, (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.Assert, ast.match_case)):
            count += 1
        elif isinstance(node, ast.comprehension):
            count += 1 + len(node.ifs)
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
    return count


MOST_BRANCHES = 15


def test_functions_have_few_branches():
    over = {
        f"{file.relative_to(SOURCE).as_posix()}:{node.name}"
        for file in FILES
        for node in ast.walk(TREES[file])
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and count_branches(node) > MOST_BRANCHES
    }
    assert not over


def test_no_two_files_of_tests_have_one_name():
    names = [file.name for file in Path(__file__).parent.rglob("test_*.py")]
    assert len(set(names)) == len(names), "pytest imports them by their names alone"


def test_names_say_what_is_inside():
    assert not {name for file in FILES for name in (file.stem, file.parent.name)} & VAGUE


@every_file
def test_a_module_says_what_it_is_for(file):
    assert ast.get_docstring(TREES[file])
