"""The rules of ARCHITECTURE.md that import-linter cannot express, read from the source itself."""

import ast
import configparser
import graphlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "btworker"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
MAX_BROAD_EXCEPTS = 5
READS = {"environ", "environb", "getenv", "getenvb"}
WRITES = {"putenv", "unsetenv"}
NAMED_FILE = re.compile(r"(?<![\w./<>*-])[\w-]+(?:[./][\w-]+)*\.(?:py|js|md|toml|cfg)\b")
NAMED_PATH = re.compile(r"`([\w-]+(?:/[\w-]+)*(?:/|\.(?:py|js|md|toml|cfg|sh)))`")
METAPHORS = {"hear", "hears", "heard", "hearing", "listen", "listens", "listening", "ear", "said", "say", "says"}
NO_VERBS = set(
    "A All An As At Both By Each For From He Here How In It None Nothing Of On One Out She Some Such That The Their "
    "There These They This Those To Under What Where Which Who Whoever Why With Without".split()
)
CHANGERS = {"clear", "pop", "popitem", "setdefault", "update", "__setitem__", "__delitem__"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def parsed() -> Iterator[tuple[str, ast.Module]]:
    for path in SOURCES:
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def os_names(tree: ast.Module) -> Iterator[ast.Attribute | ast.alias]:
    """Every `os.x` and every x of `from os import x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            yield node
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from node.names


def name_of(node: ast.Attribute | ast.alias) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.name


def environment_reads(tree: ast.Module) -> list[int]:
    """Lines that look at the environment; those that only set it are counted apart."""
    setting = {id(target) for target in environment_targets(tree)}
    return [node.lineno for node in os_names(tree) if name_of(node) in READS and id(node) not in setting]


def environment_targets(tree: ast.Module) -> Iterator[ast.AST]:
    """The `os.environ` of each assignment, deletion or changing method call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign | ast.Assign):
            yield from (target for target in targets_of(node) if is_environ(target))
        elif is_change(node):
            yield node.value


def is_change(node: ast.AST) -> TypeGuard[ast.Subscript | ast.Attribute]:
    """`os.environ[...] = `, `del os.environ[...]` or `os.environ.update`."""
    stored = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del)
    called = isinstance(node, ast.Attribute) and node.attr in CHANGERS
    return (stored or called) and is_environ(node.value)


def targets_of(node: ast.AugAssign | ast.Assign) -> list[ast.expr]:
    return [node.target] if isinstance(node, ast.AugAssign) else node.targets


def is_environ(node: ast.AST) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb"}) or (
        isinstance(node, ast.Name) and node.id in {"environ", "environb"}
    )


def environment_writes(tree: ast.Module) -> list[int]:
    calls = [node.lineno for node in os_names(tree) if name_of(node) in WRITES]
    return calls + [target.lineno for target in environment_targets(tree) if hasattr(target, "lineno")]


def broad_handlers(tree: ast.Module) -> list[int]:
    """Lines of handlers, and of suppress(), that catch everything."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.ExceptHandler) and is_broad(node.type))
        or (isinstance(node, ast.Call) and called_name(node) == "suppress" and any(map(is_broad, node.args)))
    ]


def is_broad(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(is_broad(part) for part in kind.elts)
    return kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})


def called_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def disguised_handlers(tree: ast.Module) -> list[int]:
    """Lines where an error is caught without the word: an __exit__ that may return true, a callback of an ExitStack."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, Function) and node.name in {"__exit__", "__aexit__"} and not is_none(node.returns))
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_exit_push(node.func, node.args))
    ]


def is_none(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Constant) and annotation.value is None


def is_exit_push(function: ast.Attribute, arguments: list[ast.expr]) -> bool:
    """ExitStack.push(callback), and not the push(job, output) of something else."""
    return function.attr in {"push", "push_async_exit"} and len(arguments) == 1


def body_lines(function: Function) -> int:
    """Lines of the body, from the first statement after the docstring to the last."""
    statements = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not statements:
        return 0
    return (statements[-1].end_lineno or 0) - statements[0].lineno + 1


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def test_only_config_reads_the_environment() -> None:
    """A setting that is read anywhere else is a setting that nobody finds."""
    found = [
        f"{name}:{line}"
        for name, tree in parsed()
        if not name.startswith("btworker/config/")
        for line in environment_reads(tree)
    ]
    assert found == []


def test_only_the_child_sets_the_environment() -> None:
    """CUDA_VISIBLE_DEVICES and friends are set in the child, before the engine is loaded, and nowhere else; config
    takes credentials out before any child is started."""
    allowed = {"btworker/pool/child.py", "btworker/config/__init__.py"}
    found = [f"{name}:{line}" for name, tree in parsed() if name not in allowed for line in environment_writes(tree)]
    assert found == []


def test_broad_excepts_stay_at_the_edges() -> None:
    """At most five places catch everything; each is an edge where a process or a request ends."""
    found = [f"{name}:{line}" for name, tree in parsed() for line in broad_handlers(tree)]
    assert len(found) <= MAX_BROAD_EXCEPTS, found


def test_errors_are_caught_by_except_and_by_nothing_else() -> None:
    """An `__exit__` that catches everything would not be counted, nor be found by who looks for it."""
    assert [f"{name}:{line}" for name, tree in parsed() for line in disguised_handlers(tree)] == []


def test_no_file_is_long() -> None:
    """A file over 300 lines is usually two things."""
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_no_function_is_long() -> None:
    """No function's body is over 40 lines."""
    found = {
        f"{name}:{function.lineno} {function.name}": body_lines(function)
        for name, tree in parsed()
        for function in functions(tree)
        if body_lines(function) > MAX_FUNCTION_LINES
    }
    assert found == {}


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Of modules, classes and functions, and those after an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def missing_files(text: str, *folders: Path) -> list[str]:
    """File names in a text that are in none of the folders."""
    return [name for name in NAMED_FILE.findall(text) if not any((folder / name).exists() for folder in folders)]


def test_every_file_that_a_docstring_names_exists() -> None:
    """Beside the module, or from the top of the package or of the repository."""
    found = {
        name: missing
        for path in SOURCES
        for name in [path.relative_to(ROOT).as_posix()]
        for text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if (missing := missing_files(text, path.parent, PACKAGE, ROOT))
    }
    assert found == {}


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_file_that_the_architecture_names_exists(document: str) -> None:
    """From the top of the package or of the repository, or in a folder that the same line has named before."""
    found: list[str] = []
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines():
        folders = [PACKAGE, ROOT]
        for name in NAMED_PATH.findall(line):
            place = next((folder / name for folder in folders if (folder / name).exists()), None)
            if place is None:
                found.append(name)
            else:
                folders.append(place if place.is_dir() else place.parent)
    assert found == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("see asr/gone.py.", ["asr/gone.py"]),
        ("storage.py keeps them, <job>/plan.json and *.claim are no modules", ["storage.py"]),
        ("docs/api.md and http://127.0.0.1/x.md", ["docs/api.md"]),
    ],
)
def test_named_files_are_seen(text: str, named: list[str]) -> None:
    """A rule that finds nothing proves nothing."""
    assert NAMED_FILE.findall(text) == named


def described(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(function, first word of its docstring), without properties and overrides that refer to what they override."""
    for function in functions(tree):
        words = (ast.get_docstring(function) or "").split()
        is_property = any(isinstance(one, ast.Name) and one.id == "property" for one in function.decorator_list)
        if words and not is_property:
            yield function.name, words[0].strip(".,:;")


def test_docstrings_of_the_engine_begin_with_what_a_function_does() -> None:
    """With a verb, or with "Whether"; neither with a pronoun, nor with the thing that is returned."""
    found = {
        f"{name} {function}": word
        for name, tree in parsed()
        if name.startswith("btworker/engine/")
        for function, word in described(tree)
        if word in NO_VERBS or word[0].islower()
    }
    assert found == {}


def test_the_engine_neither_hears_nor_says() -> None:
    """It encodes, detects, decodes and emits: six acts that one metaphor would stand for."""
    names = {
        f"{name}:{node.lineno} {word}"
        for name, tree in parsed()
        if name.startswith("btworker/engine/")
        for node in ast.walk(tree)
        for word in identifiers(node)
        if METAPHORS & set(re.split(r"_|(?<=[a-z])(?=[A-Z])", word.lower()))
    }
    assert names == set()


def identifiers(node: ast.AST) -> Iterator[str]:
    """Names that a node defines or uses."""
    for field in ("id", "attr", "name", "arg"):
        if isinstance(value := getattr(node, field, None), str):
            yield value


def layers_of(contract: str) -> str:
    """The layers of a contract in setup.cfg, as ARCHITECTURE writes them."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = settings[f"importlinter:contract:{contract}"]["layers"].strip().splitlines()
    layers = [" | ".join(f"`{part.strip()}`" for part in line.split("|")) for line in lines]
    return ", ".join(f"({layer})" if "|" in layer else layer for layer in layers)


@pytest.mark.parametrize("contract", ["layers", "engine-layers"])
def test_the_architecture_tells_the_layers_that_are_enforced(contract: str) -> None:
    """Word for word those of setup.cfg, top to bottom."""
    text = " ".join((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split())
    assert layers_of(contract) in text


def test_every_module_is_under_the_import_contract() -> None:
    """The contract that keeps torch out of the front end names every part of the package but the engine."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = settings["importlinter:contract:speech-only-in-the-engine"]["source_modules"].split()
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in SOURCES} - {
        "__init__",
        "engine",
        "demo",
    }
    assert sorted(listed) == sorted(f"btworker.{part}" for part in parts)


def test_no_modules_import_each_other() -> None:
    """No circle, however long: late imports and those for annotations count as well."""
    graph = grimp.build_graph("btworker", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names them
    assert "btworker.engine.job.attempt" in imports["btworker.engine.engine"], "late imports are not seen"


@pytest.mark.parametrize(
    ("source", "reads", "writes"),
    [
        ("import os\nos.environ['A'] = 'b'", 0, 1),
        ("import os\ndel os.environ['A']", 0, 1),
        ("import os\nos.environ.update(A='b')", 0, 1),
        ("import os\nos.putenv('A', 'b')", 0, 1),
        ("import os\nprint(os.environ['A'])", 1, 0),
        ("import os\nprint(os.environ.get('A'), os.getenv('B'))", 2, 0),
        ("from os import environ", 1, 0),
        ("import os\nchild = {**os.environ}", 1, 0),
        ("import os\nos.getpid()", 0, 0),
    ],
)
def test_environment_rules_see_what_they_must(source: str, reads: int, writes: int) -> None:
    """A rule that finds nothing proves nothing, so it is shown what it must find."""
    tree = ast.parse(source)
    assert (len(environment_reads(tree)), len(environment_writes(tree))) == (reads, writes)


@pytest.mark.parametrize(
    ("handler", "broad"),
    [("except:", 1), ("except Exception:", 1), ("except (OSError, BaseException):", 1), ("except OSError:", 0)],
)
def test_broad_except_rule_sees_what_it_must(handler: str, broad: int) -> None:
    """As above, for the handlers."""
    assert len(broad_handlers(ast.parse(f"try:\n    pass\n{handler}\n    pass"))) == broad


@pytest.mark.parametrize(
    ("source", "broad", "disguised"),
    [
        ("with contextlib.suppress(Exception):\n    pass", 1, 0),
        ("with suppress(OSError):\n    pass", 0, 0),
        ("class A:\n    def __exit__(self, *_):\n        return True", 0, 1),
        ("class A:\n    def __exit__(self, *_) -> None:\n        self.close()", 0, 0),
        ("edge.push(end)", 0, 1),
        ("courier.push(job, output)", 0, 0),
    ],
)
def test_what_catches_without_except_is_seen(source: str, broad: int, disguised: int) -> None:
    """As above."""
    tree = ast.parse(source)
    assert (len(broad_handlers(tree)), len(disguised_handlers(tree))) == (broad, disguised)


def test_function_length_leaves_out_the_docstring() -> None:
    """Only what runs counts."""
    tree = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    a = 1\n    return a\n')
    assert [body_lines(function) for function in functions(tree)] == [2]


def test_a_promise_has_a_number_of_its_own() -> None:
    """Tests and docs name promises by it: two rows of one number are one that nobody finds."""
    rows = re.findall(r"^\| ([A-Z]\d+) \|", (ROOT / "docs/reliability.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 70
    assert [number for number, count in Counter(rows).items() if count > 1] == []
