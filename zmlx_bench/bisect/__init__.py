"""Which release of a package made decode slower, or changed its tokens or its memory: halving over sessions."""
