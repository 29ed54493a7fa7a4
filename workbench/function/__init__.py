"""What is deployed: the processing function and the read function, their stages and nothing else.

No torch, no FAISS, no notebook library: this package and what it imports make up the zip (see ``package.py``).
"""
