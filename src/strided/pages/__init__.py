"""Pages that open without a network: their frame, style, figures and words. Without torch."""
