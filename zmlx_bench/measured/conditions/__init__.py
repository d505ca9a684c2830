"""How a model is run other than in the default way: context, batch, and the kind of cache. Loaded when asked for."""
