"""The checker of the crash tests can fail: one fault planted at a time in books that are right."""

import collections
import copy
import unittest

import ledger


class Audit(unittest.TestCase):
    def setUp(self):
        self.acknowledged = [ledger.Acknowledged(1, 5), ledger.Acknowledged(2, 1), ledger.Acknowledged(3, 2, cancelled=True)]
        self.pods = {job: [{"index": i, "state": "failed" if ledger.exit_code_of(i) else "succeeded",
                            "exit_code": ledger.exit_code_of(i)} for i in range(size)] for job, size in ((1, 5), (2, 1))}
        self.pods[3] = [{"index": 0, "state": "cancelled", "exit_code": -1}, {"index": 1, "state": "cancelled", "exit_code": -1}]
        self.ran = collections.Counter({(job, i, 1): 1 for job in (1, 2) for i in range(len(self.pods[job]))})
        self.ran[3, 1, 1] = 1
        self.outputs = {(1, 3): ledger.output_of(3)}

    def audit(self):
        return ledger.audit(self.acknowledged, self.pods, self.ran, self.outputs)

    def test_right_books_pass(self):
        self.assertEqual(self.audit(), [])

    def test_each_fault_is_found(self):
        faults = {
            "is lost": lambda t: t.pods.pop(2) and t.ran.pop((2, 0, 1)),
            "has 4 pods of 5": lambda t: t.pods[1].pop() and t.ran.pop((1, 4, 1)),
            "attempt 1 ran 2 times": lambda t: t.ran.update({(1, 0, 1): 1}),
            "1[0] ran 2 times": lambda t: t.ran.update({(1, 0, 2): 1}),
            "ran 0 times": lambda t: t.ran.pop((1, 0, 1)),
            "is running": lambda t: t.pods[1][0].update(state="running"),
            "is node-lost": lambda t: t.pods[1][0].update(state="node-lost"),
            "exit code 4 instead of 3": lambda t: t.pods[1][3].update(exit_code=4),
            "is cancelled": lambda t: t.pods[1][0].update(state="cancelled"),
            "was cancelled and ran 2 times": lambda t: t.ran.update({(3, 1, 2): 1}),
            "knows no such job": lambda t: t.ran.update({(9, 0, 1): 1}),
            "instead of 'begin 3": lambda t: t.outputs.update({(1, 3): "begin 3\n"}),
        }
        right = copy.deepcopy((self.acknowledged, self.pods, self.ran, self.outputs))
        for piece, plant in faults.items():
            with self.subTest(piece):
                self.acknowledged, self.pods, self.ran, self.outputs = copy.deepcopy(right)
                plant(self)
                found = self.audit()
                self.assertTrue(any(piece in line for line in found), found)


if __name__ == "__main__":
    unittest.main()
