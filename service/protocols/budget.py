"""How much a request may grow to while it is decoded: pictures, archives and compressed columns can grow a thousandfold."""

from service.errors import DecodedTooLarge


class Budget:
    """Counts decoded bytes down from `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit

    def take(self, size: int) -> None:
        """Note that `size` bytes are going to be decoded. Raises DecodedTooLarge, before they are, if they are too many."""
        if size > self.left:
            raise DecodedTooLarge(self.limit)
        self.left -= size
