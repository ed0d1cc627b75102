#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    char *text;
    struct node *next;
};

static struct node *add(struct node *head, const char *text) {
    struct node *node = malloc(sizeof(*node));
    if (node == NULL) {
        return head;
    }
    node->text = strdup(text);
    node->next = head;
    return node;
}

static int count(const struct node *head) {
    int total = 0;
    for (const struct node *node = head; node != NULL; node = node->next) {
        total++;
    }
    return total;
}

static void release(struct node *head) {
    while (head != NULL) {
        struct node *next = head->next;
        free(head->text);
        free(head);
        head = next;
    }
}

int main(int argc, char **argv) {
    struct node *head = NULL;
    for (int i = 1; i < argc; i++) {
        head = add(head, argv[i]);
    }
    printf("%d words\n", count(head));
    release(head);
    return 0;
}
