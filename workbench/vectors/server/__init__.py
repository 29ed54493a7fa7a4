"""The local vector server: our FAISS store behind Pinecone's REST protocol, on loopback, one port for every index.

``python -m workbench.vectors.server --port N`` with the API key in ``WORKBENCH_API_KEY``. With ``--data FOLDER`` the indexes
are found again by the next server on that folder; without, they are in memory and end with the process.
"""
