"""The activity page: all operations that the user may see, and the forms that cancel and retry them."""
