"""What only a key owner may import: device keys and decryption at ingest, the key owner's side of linear layers."""
