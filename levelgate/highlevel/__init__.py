"""HighLevel seen from our side: signatures, OAuth grants, tokens, the API client. Imports `schemas` only."""
