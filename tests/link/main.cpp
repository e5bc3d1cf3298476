// That this links is the test; that it runs shows that no room does anything before main() that needs more than it has.
int main() { return 0; }
