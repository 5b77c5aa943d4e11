"""Which BatchNorm sites the two modalities share: learnt by gradient, on images the weights never see."""
