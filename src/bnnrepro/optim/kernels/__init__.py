"""Speed, and nothing else: what the plain operations give, in less time.

A method needs a few names from here. ``BinaryOptimizer`` calls the others.

    arithmetic   in-place operations in one pass: ``sign_``, ``tanh``, ``subtract_``
    noise        random bits, 16 a weight, and the noise of relaxed draws
    posterior_draws  ``PosteriorDraws``: draws of w = +-1 where the sign is not certain
    relaxation   ``ActiveSets``: draws and updates of BayesBiNN that skip weights far from zero
    active_set   ``ActiveSet``: the places of the entries near zero
    compiling    ``run``: an element-wise function block by block, or through ``torch.compile``
    chunks       blocks that fit the cache, and memory layouts
    gradients    ``own_gradient``: a gradient in memory that nobody else holds
    malloc       freed memory that stays with the process
"""
