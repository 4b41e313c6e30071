"""The notebooks in `examples/notebooks` run, each in a kernel of its own, and are stored without outputs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def imports(code: str) -> set[str]:
    """The packages that code imports at its top level: what stands in a `try` may be absent."""
    names: set[str] = set()
    for statement in ast.parse(code).body:
        if isinstance(statement, ast.Import):
            names.update(alias.name.split(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names.add(statement.module.split(".")[0])
    return names


def test_there_are_notebooks_and_the_readme_names_each() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert NOTEBOOKS
    assert all(f"({path.name})" in readme for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for package in sorted(imports("\n".join(cell.source for cell in code))):
        pytest.importorskip(package, reason=f"{package} is not installed")
    # A cell that fails raises an error with its code and its traceback.
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    drawn = [cell for cell in code if "plt.show()" in cell.source]
    assert drawn
    for cell in drawn:
        assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source
    # What a cell says of equal bits holds.
    said = "".join(output.text for cell in code for output in cell.outputs if output.output_type == "stream")
    assert "False" not in said, said
