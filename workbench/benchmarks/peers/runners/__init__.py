"""Programs that run in a subject's own environment: ``measure.py``, and one file for each product.

They import the product's package, numpy and the standard library, and nothing of the workbench (ours excepted). A file has a
class ``Subject(folder, dimension, options)``: ``batch(rows, vectors, metadata)`` makes what ``insert`` takes, ``request(vector,
conditions)`` what ``query`` takes, and ``rows(answer)`` reads the ids out of an answer; these three are not timed, and hold
only what a caller could prepare. ``wait_indexed()``, ``tune(setting)`` and ``close()`` say what they do; ``pid`` is the process
whose memory counts. Every query asks for the ten nearest with their scores and metadata.
"""
