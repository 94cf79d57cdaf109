"""What people correct in a transcript: a layer of its own, versioned, over what the engine found. Pure; parent.

    edits.py        what may be changed, as it is sent and stored
    layer.py        changes, one version after the other -> what is corrected at a version
    apply.py        that and a transcript -> the corrected transcript
    retiming.py     a segment's new text -> its words, at their times

The engine's transcript is never changed. store/ keeps the changes, service/corrections.py takes them in.
"""
