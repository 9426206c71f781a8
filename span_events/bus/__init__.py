"""How happenings travel from the parts that see them to the parts that show them."""
