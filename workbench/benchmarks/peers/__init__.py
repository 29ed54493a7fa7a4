"""Our store and our server beside their peers: the same vectors, the same queries, each product in a process of its own.

``environments`` makes a virtual environment for each peer, ``workload`` what is inserted and asked and what is true of it,
``subjects`` says who takes part, ``runners`` drive them, and ``comparison`` runs them in turn and makes a table of it.
"""
