"""The name of our attention, and how transformers comes to know it; the code is in `document_attention.py`."""

DOCUMENTS = "tunesmith_documents"
"""Name for `attn_implementation`."""


def register_document_attention() -> None:
    """Make `DOCUMENTS` known to transformers, through its `AttentionInterface`, so that no model is changed."""
    from transformers import AttentionInterface

    from tunesmith.modeling.document_attention import document_attention

    AttentionInterface.register(DOCUMENTS, document_attention)
