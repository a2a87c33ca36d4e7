"""Who may call, how often, and over what: API keys, scopes, rates, certificates. Pure: it knows no web framework and no gRPC."""
