"""x"""
def preference_example(*a): raise NotImplementedError
