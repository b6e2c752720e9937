//! FRAME pallets: models, operators with bonds, escrow and settlement.
