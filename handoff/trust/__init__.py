"""Who may join: the cluster secret, the certificates derived from it, and what may never be unpickled."""
