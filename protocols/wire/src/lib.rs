//! Ids, signed records, messages, codec and the libp2p node that every party shares.
