"""Small models, a store that is a dict, and threads that take turns: what tests of versions are made of."""

import threading
from collections.abc import Callable, Mapping

import numpy as np

from workbench.events import Match, Record


class Words:
    """A model of ``dimension`` dimensions: each text has a direction of its own, drawn from its letters and the model's seed."""

    def __init__(self, dimension: int, seed: int = 0) -> None:
        self.dimension, self.seed = dimension, seed
        self.asked: list[str] = []

    def embed(self, texts) -> np.ndarray:
        self.asked += texts
        rows = [np.random.default_rng([self.seed, *text.encode()]).normal(size=self.dimension) for text in texts]
        array = np.array(rows, np.float32).reshape(len(texts), self.dimension)
        return array / np.linalg.norm(array, axis=1, keepdims=True)


class DictStore:
    """Records in a dict; ``turn`` is called before every call."""

    def __init__(self, turn: Callable[[], None] = lambda: None) -> None:
        self.records: dict[str, dict[str, Record]] = {}
        self.turn = turn

    def upsert(self, records, *, namespace=""):
        self.turn()
        self.records.setdefault(namespace, {}).update({record.id: record for record in records})
        return len(records)

    def fetch(self, ids, *, namespace=""):
        self.turn()
        held = self.records.get(namespace, {})
        return {id: held[id] for id in ids if id in held}

    def delete(self, ids=None, *, namespace="", filter=None):
        self.turn()
        for id in list(self.records.get(namespace, {}) if ids is None else ids):
            self.records.get(namespace, {}).pop(id, None)

    def query(self, vectors, *, top_k, namespace="", filter=None):
        self.turn()
        held = self.records.get(namespace, {})
        answers = []
        for vector in vectors:
            matches = [Match(id, float(np.dot(record.values, vector)), record.metadata) for id, record in held.items()]
            answers.append(sorted(matches, key=lambda match: -match.score)[:top_k])
        return answers

    def ids(self, *, prefix="", namespace=""):
        self.turn()
        return iter([id for id in self.records.get(namespace, {}) if id.startswith(prefix)])

    def stats(self):
        self.turn()
        return {namespace: len(records) for namespace, records in self.records.items() if records}


class Turns:
    """Runs threads of which one at a time makes one store call, in an order that the test chooses."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy: set[int] = set()  # threads between two calls
        self._waiting: dict[int, int] = {}  # thread → the number of its actor
        self._actors: dict[int, int] = {}
        self._errors: list[BaseException] = []

    def turn(self) -> None:
        me = threading.get_ident()
        if me not in self._actors:
            return  # the test itself
        with self._changed:
            self._waiting[me] = self._actors[me]
            self._busy.discard(me)
            self._changed.notify_all()
            self._changed.wait_for(lambda: me in self._busy)

    def run(self, *actors: Callable[[], None], choose: Callable[[list[int]], int]) -> None:
        """``choose`` is given the numbers of the actors that want to go on, and gives one of them."""
        threads = [threading.Thread(target=self._act, args=(number, actor), daemon=True) for number, actor in enumerate(actors)]
        for thread in threads:
            with self._changed:
                thread.start()
                self._changed.wait_for(lambda thread=thread: thread.ident in self._actors)
        with self._changed:
            while True:
                self._changed.wait_for(lambda: not self._busy)
                if not self._waiting:
                    break
                waiting = sorted(self._waiting.values())
                try:
                    chosen = choose(waiting)
                except BaseException as error:  # hypothesis ends an example so; the threads still come to their end
                    self._errors.insert(0, error)
                    choose, chosen = min, min(waiting)
                thread = next(each for each, number in self._waiting.items() if number == chosen)
                del self._waiting[thread]
                self._busy.add(thread)
                self._changed.notify_all()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _act(self, number: int, actor: Callable[[], None]) -> None:
        me = threading.get_ident()
        with self._changed:
            self._actors[me] = number
            self._busy.add(me)
            self._changed.notify_all()
        try:
            self.turn()
            actor()
        except BaseException as error:
            self._errors.append(error)
        finally:
            with self._changed:
                self._busy.discard(me)
                del self._actors[me]
                self._changed.notify_all()


def held(store, namespace: str = "") -> dict[str, dict]:
    """The metadata of all records by id, through the protocol."""
    ids = list(store.ids(namespace=namespace))
    return {id: record.metadata for id, record in store.fetch(ids, namespace=namespace).items()}


def check_holds(version, texts: Mapping[str, str], namespace: str = "") -> None:
    """The version's store holds these texts by id and nothing else, with its model's vectors."""
    assert held(version.store, namespace) == {id: {"text": text} for id, text in texts.items()}
    records = version.store.fetch(list(texts), namespace=namespace)
    for id, text in texts.items():
        expected = Words(version.embedder.dimension, version.embedder.seed).embed([text])[0]
        np.testing.assert_allclose(records[id].values, expected, atol=1e-6)
