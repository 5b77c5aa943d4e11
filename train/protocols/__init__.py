"""Who is searched for among whom: the datasets' protocols, from embeddings to figures. Numpy alone; no torch.

Features are extracted once. A protocol picks rows of them, as often as it draws galleries.
"""
