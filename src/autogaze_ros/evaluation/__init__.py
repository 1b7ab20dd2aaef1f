"""How good gazes and reconstructions are."""
