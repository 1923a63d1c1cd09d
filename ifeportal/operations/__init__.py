"""Operations: work that a person or a program requested, with an owner, progress and an end."""
