"""Speed, and nothing else: the same bits as the plain operations, in less time.

A method needs a few names from here. ``BinaryOptimizer`` calls the others.

    arithmetic   in-place operations in one pass: ``sign_``, ``subtract_``, ``decay_and_subtract_``
    relaxation   ``ActiveSets``: draws and updates of BayesBiNN that skip weights far from zero
    active_set   ``ActiveSet``: the places of the entries near zero, kept up to date
    compiling    ``run``: an element-wise function block by block, or through ``torch.compile``
    chunks       blocks that fit the cache, and memory layouts
    gradients    ``own_gradient``: a gradient in memory that nobody else holds
    malloc       freed memory that stays with the process
"""
