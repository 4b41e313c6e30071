"""The Python that the guide and the READMEs show is run, a page in one namespace, with shorter trainings."""

import re
from pathlib import Path

import pytest

import cnflow

ROOT = Path(__file__).parents[2]
PAGES = ["docs/guide/python.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert (tmp_path / "model.safetensors").exists()


def test_the_readme_s_flow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert "time=60" in block
    exec(compile(block.replace("time=60", "steps=50"), "README.md", "exec"), {})
    assert cnflow.load("model.safetensors").dim == 2
