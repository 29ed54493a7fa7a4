"""What notebook 02 sweeps over: builds that can be built, and what they are called."""

import pytest

from workbench.errors import SettingError
from workbench.experiments import index
from workbench.settings import Settings, index_text, parse_index


def test_every_index_of_the_grid_is_one_and_its_text_says_all():
    assert [index_text(parse_index(text)) for text in index.GRID] == list(index.GRID)
    assert len({index.build_text(parse_index(text)) for text in index.GRID}) == len(index.GRID)


def test_what_needs_more_vectors_than_there_are_is_left_out():
    base = Settings(events=100)
    made = index.designs(base, [900, 5000], ["flat", "hnsw", "ivf:nlist=128", "ivf:nlist=129"])
    assert [(each.catalogue, index.build_text(each.index)) for each in made] == [
        (900, "exact"),
        (5000, "exact"),
        (5000, "HNSW m=16 efC=100"),
        (5000, "IVF nlist=128"),  # 39 vectors a cell: 4,992
    ]
    assert {each.events for each in made} == {100}


def test_both_halves_of_a_pair_have_their_words():
    made = parse_index("ivf-pq:nlist=64,segments=24,nprobe=4,refine=2")
    assert index.build_text(made) == "IVF-PQ nlist=64 segments=24" and index.query_text(made) == "nprobe 4, refine 2"
    assert index.query_text(parse_index("hnsw:ef_search=40")) == "ef 40" and index.query_text(parse_index("flat")) == ""


def test_a_text_that_is_no_index_is_refused():
    with pytest.raises(SettingError, match=r"^index = 'tree' is not allowed: one of flat, hnsw"):
        index.designs(Settings(), [1000], ["tree"])
