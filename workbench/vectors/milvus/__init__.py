"""Milvus as a vector store: Lite in this process, or a cluster."""
